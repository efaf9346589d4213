"""The Model Context Protocol over what is here, for assistants and agents."""
