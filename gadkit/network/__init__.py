"""Graph networks: the autoencoder and the attention network, their layers and training."""
