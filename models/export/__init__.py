"""How a generator leaves this project: as ONNX graphs around which a loop of plain arithmetic samples."""
