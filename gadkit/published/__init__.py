"""Published fraud graphs: which there are, how to get them, and how their files become graphs."""

from pathlib import Path

DATA = Path(__file__).resolve().parents[2] / "data"  # of the repository; dataset folders go there
