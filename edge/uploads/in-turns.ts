/**
 * The bytes that are worked on without a break; then the isolate's other requests have a turn. Bytes and not
 * milliseconds, as a worker's clock stands still while its code runs. Where KV is simulated in the
 * worker's own process, writing them takes that process some 2 ms.
 */
export const turnBytes = 64 * 1024

/** Lets the other work of this isolate go on first. A promise that is fulfilled already would not. */
export const giveTurn = (): Promise<void> => scheduler.wait(0)

/** Bytes as a stream whose reader lets other work go on between its pieces. */
export function streamInTurns(bytes: Uint8Array<ArrayBuffer>): ReadableStream<Uint8Array> {
  const { readable, writable } = new FixedLengthStream(bytes.length)
  const writer = writable.getWriter()
  const write = async () => {
    for (let at = 0; at < bytes.length; at += turnBytes) {
      await writer.write(bytes.subarray(at, at + turnBytes))
      await giveTurn()
    }
    await writer.close()
  }
  // A reader that goes away has a failure of its own to report.
  write().catch(() => undefined)
  return readable
}
