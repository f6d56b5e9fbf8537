"""The demo: PeRL takes the position bias out of a tiny vision-language model in minutes."""
