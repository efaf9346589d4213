"""The peer process (`lovage peer`): platforms that run each other's predictions over libp2p. All but the
launcher runs on trio in a process of its own, whose Python may be another one than Lovage's: it imports the
standard library, `app.domain` and the packages of the extra `p2p`."""
