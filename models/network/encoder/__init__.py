"""Scene encoders: a cloud in, tokens with positions and local frames out."""
