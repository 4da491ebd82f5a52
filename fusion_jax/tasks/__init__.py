"""What is trained: the loss and the data of each kind of model."""
