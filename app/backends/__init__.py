"""What runs elsewhere: each kind of backend as one class that speaks its protocol. Knows no database, queue
or worker."""
