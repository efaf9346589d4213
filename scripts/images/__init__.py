"""`make images`: the images are built, and the compose file's platform is run from them and tried."""
