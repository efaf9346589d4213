// Everything.
#pragma once

#include <lovage/errors.hpp>
#include <lovage/platform.hpp>
#include <lovage/session.hpp>
#include <lovage/tensor.hpp>
