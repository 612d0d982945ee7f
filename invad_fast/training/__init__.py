"""Training on good parts only: options, features of the frozen encoder, the loop, its folder."""
