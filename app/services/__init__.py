"""What Lovage decides: accepting, moving, following and recovering predictions; accounts, models and files.
Knows no HTTP."""
