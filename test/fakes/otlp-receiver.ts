import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  pointsOf,
  type Received,
  type ReceivedPoint,
  type ReceivedSpan,
  type ReceiverBehaviour,
  spansOf,
} from './otlp-received.ts'

/**
 * An OTLP/HTTP receiver that keeps what it gets, for tests. It takes the JSON encoding by its letter: unknown fields,
 * ids of another length and times that are no digits are refused with 400 and count as `refused`.
 */

export interface OtlpReceiver {
  readonly url: string
  received(): Received
  behave(behaviour: ReceiverBehaviour): void
  close(): Promise<void>
}

/** Over HTTP, `PUT /receiver/behaviour` sets its behaviour and forgets what it got; `GET /receiver/received` tells. */
export async function startOtlpReceiver(): Promise<OtlpReceiver> {
  let behaviour: ReceiverBehaviour = {}
  let kept = empty()
  const behave = (next: ReceiverBehaviour) => {
    behaviour = next
    kept = empty()
  }
  const server = createServer((request, response) => {
    answer(request, response).catch(() => response.destroy())
  })

  async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await readBody(request)
    if (request.url === '/receiver/received') return void response.end(JSON.stringify(kept))
    if (request.url === '/receiver/behaviour') {
      behave(JSON.parse(body) as ReceiverBehaviour)
      return void response.end()
    }
    if (behaviour.delayMs !== undefined) await sleep(behaviour.delayMs, undefined, { ref: false })
    const { refuses, status } = behaviour
    if (status !== undefined && (refuses === undefined || request.url === `/v1/${refuses}`))
      return void response.writeHead(status).end()
    kept.headers = request.headers
    kept.bodies.push(body)
    try {
      if (request.url === '/v1/traces') kept.spans.push(...spansOf(JSON.parse(body)))
      else if (request.url === '/v1/metrics') kept.points.push(...pointsOf(JSON.parse(body)))
      else throw new Error(`nothing is at ${request.url}`)
      response.writeHead(200, { 'content-type': 'application/json' }).end('{}')
    } catch (error) {
      kept.refused.push(String(error))
      response.writeHead(400).end()
    }
  }

  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    received: () => kept,
    behave,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

function empty() {
  return {
    spans: [] as ReceivedSpan[],
    points: [] as ReceivedPoint[],
    refused: [] as string[],
    bodies: [] as string[],
    headers: {} as Received['headers'],
  }
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString()
}
