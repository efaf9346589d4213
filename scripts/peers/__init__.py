"""What needs libp2p, in an environment of its own: tests of peers, and two platforms that are peers."""
