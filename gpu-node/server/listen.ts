import { once } from 'node:events'
import type { Server } from 'node:http'
import { createAdaptorServer } from '@hono/node-server'
import { QuartetError } from '../../shared/errors.ts'
import { pushTimeoutMs } from '../../shared/wire.ts'

/**
 * A whole request must arrive within this, so that a trickled body cannot hold its connection. It is the edge that ends
 * a slow push: a node that cut it off would look like one that failed.
 */
export const requestTimeout = pushTimeoutMs + 30_000
/** Longer than edges keep an idle connection, so that the node is not the one to close it under a new request. */
const keepAliveTimeout = 120_000

export interface Listener {
  readonly url: string
  /** Stops accepting; resolves when every connection is closed. Open ones are cut after `graceMs`. */
  close(graceMs: number): Promise<void>
}

/** Serves `fetch` on a host and port (0 for any free one). Throws `conflict` when the port is taken. */
export async function listen(
  fetch: (request: Request) => Response | Promise<Response>,
  { host, port }: { host: string; port: number },
): Promise<Listener> {
  const server = createAdaptorServer({ fetch, serverOptions: { requestTimeout, keepAliveTimeout } })
  server.listen(port, host)
  try {
    await once(server, 'listening')
  } catch (cause) {
    throw new QuartetError('conflict', listenFailure(cause, { host, port }), { cause })
  }
  const address = server.address()
  const bound = typeof address === 'object' && address !== null ? address.port : port
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${bound}`,
    async close(graceMs) {
      const closed = once(server, 'close')
      server.close()
      if (!isHttp1(server)) return
      server.closeIdleConnections()
      const cut = setTimeout(() => server.closeAllConnections(), graceMs)
      await closed
      clearTimeout(cut)
    },
  }
}

function isHttp1(server: object): server is Server {
  return 'closeIdleConnections' in server
}

function listenFailure(cause: unknown, { host, port }: { host: string; port: number }): string {
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined
  if (code === 'EADDRINUSE')
    return `port ${port} on ${host} is in use; stop what listens there or choose another with --port or QUARTET_NODE_PORT`
  if (code === 'EACCES') return `no permission to listen on port ${port} of ${host}; choose one above 1023`
  return `cannot listen on ${host}:${port} (${code ?? cause}); check --host or QUARTET_NODE_HOST`
}
