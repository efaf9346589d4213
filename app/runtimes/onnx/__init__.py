"""ONNX files: encoders and any other graph."""
