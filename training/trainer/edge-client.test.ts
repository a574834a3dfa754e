import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { expect, onTestFinished, test } from 'vitest'
import { JobId } from '../../shared/api/fine-tuning.ts'
import { TenantId } from '../../shared/ids.ts'
import { nodeTokenKey } from '../../shared/node-token.ts'
import { TrainerId } from '../../shared/training/trainer-protocol.ts'
import { EdgeClient } from './edge-client.ts'

const work = { tenant: TenantId.parse('acme'), job: JobId.parse(`ftjob-${'a'.repeat(24)}`), fence: 1 }

/** A client of an edge that answers its calls one after the other so. */
async function clientOf(
  answers: readonly ((response: ServerResponse) => void)[],
  silentMs: number,
): Promise<EdgeClient> {
  let call = 0
  const server = createServer((_, response) => answers[call++]?.(response))
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready))
  return new EdgeClient({
    edge: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    key: nodeTokenKey('s'.repeat(32)),
    trainer: TrainerId.parse('trainer-1'),
    backoffMs: [1, 1],
    silentMs,
  })
}

const whole = (response: ServerResponse) => void response.end('all of it')

test('a file that comes slowly arrives, however long it takes', async () => {
  const slowly = async (response: ServerResponse) => {
    for (let part = 0; part < 8; part++) {
      response.write('x')
      await delay(100)
    }
    response.end()
  }
  const client = await clientOf([(response) => void slowly(response)], 600)
  expect(new TextDecoder().decode(await client.read(work, 'training-file'))).toBe('x'.repeat(8))
})

test('a file that is cut off, or stands still, is asked for again', async () => {
  const cut = (response: ServerResponse) =>
    void response.writeHead(200, { 'content-length': 100 }).write('half', () => response.destroy())
  const still = (response: ServerResponse) => void response.write('half')
  const client = await clientOf([cut, still, whole], 50)
  expect(new TextDecoder().decode(await client.read(work, 'training-file'))).toBe('all of it')
})

test('an edge that stays silent is told as one', async () => {
  const client = await clientOf([], 20)
  await expect(client.read(work, 'training-file')).rejects.toMatchObject({
    code: 'control_unavailable',
    message: 'the edge was silent for 20 ms',
  })
})
