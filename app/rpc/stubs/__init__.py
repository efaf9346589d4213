"""What protoc makes of app/rpc/protos (`python -m scripts.rpc_stubs`)."""
