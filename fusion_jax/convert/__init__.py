"""Public torch weights to our parameters, and back."""
