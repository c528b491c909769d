"""What is shown and handed out: executed notebooks, one page of them, the list of suspects."""
