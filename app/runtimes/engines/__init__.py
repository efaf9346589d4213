"""What can run an encoder's network on a processor beside torch, and the choice between them."""
