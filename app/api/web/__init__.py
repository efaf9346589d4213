"""The edge that browsers meet: the pages of the app, their files, and sign-in by cookie."""
