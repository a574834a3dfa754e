/**
 * A kept connection that its other side has just closed breaks at once. A connection that breaks later broke during the
 * work.
 */
const atOnceMs = 1_000
/** A pool may hold several such connections. */
const mostCalls = 3

const closedCodes: ReadonlySet<unknown> = new Set(['UND_ERR_SOCKET', 'ECONNRESET', 'EPIPE'])
const closedMessage = /network connection lost|other side closed|socket hang up/i

/**
 * Makes an HTTP call, and makes it again at once when its connection was closed before there was an answer. A server may
 * close an idle connection at any time, and so while a request is on its way on it (RFC 9112, section 9.5): nothing of
 * the kind says that the server does badly. `call` makes a request of its own each time, which must do no harm when the
 * one before did arrive.
 */
export async function throughClosedConnections<T>(call: () => Promise<T>): Promise<T> {
  for (let calls = 1; ; calls++) {
    const startedAt = Date.now()
    try {
      return await call()
    } catch (thrown) {
      if (calls >= mostCalls || !isClosed(thrown) || Date.now() - startedAt >= atOnceMs) throw thrown
    }
  }
}

/** Whether a fetch failed as its connection was closed under it (undici, workerd). */
function isClosed(thrown: unknown): boolean {
  if (!(thrown instanceof Error) || thrown.name === 'AbortError' || thrown.name === 'TimeoutError')
    return false
  if ('code' in thrown && closedCodes.has(thrown.code)) return true
  return closedMessage.test(thrown.message) || isClosed(thrown.cause)
}
