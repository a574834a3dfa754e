/** What ONNX Runtime's providers say when a device does not compute any more in this process. */
const lossMessages: readonly RegExp[] = [
  // Dawn: "WebGPU device lost (…)", "[Device] is lost."
  /WebGPU device lost|\[Device[^\]]*\] is lost/,
  // cudaError_t that the CUDA context does not recover from: no device, ECC, and faults of kernels.
  /CUDA failure (?:46|100|101|214|219|220|700|702|709|71\d|999)\b/,
]

/** Whether an error, or one that caused it, says that the device is lost: only a new process can use it again. */
export function isDeviceLoss(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  return lossMessages.some((message) => message.test(error.message)) || isDeviceLoss(error.cause)
}
