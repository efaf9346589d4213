"""gRPC inside a worker, on GRPC_PORT: clients that move tensors run models here, with no proxy between. Each
call is a prediction, in the same batches as what comes by the queue."""
