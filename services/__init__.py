"""The three services of Liandong and the composition roots that start them."""
