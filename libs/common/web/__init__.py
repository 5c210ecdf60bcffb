"""The HTTP surface that the three services share: strict input, problems, tokens, health, composition."""
