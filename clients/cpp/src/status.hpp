// From gRPC's status to Error.
#pragma once

#include <grpcpp/grpcpp.h>
#include <lovage/errors.hpp>

namespace lovage {

// Throws Error unless the call went well; reads the retry delay from the trailing metadata.
void require_ok(const grpc::Status& status, const grpc::ClientContext& context);

}  // namespace lovage
