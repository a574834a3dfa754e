import { z } from 'zod'
import { serializeAdapterFile } from '../shared/adapter-file.ts'
import { maxAdapterBytes } from '../shared/wire.ts'
import { benchBackbone } from './backend.ts'
import { randomAdapter } from './random-adapter.ts'

/**
 * Child of the edge benchmark. It uploads the largest adapter file that an edge takes, less than a percent: one token
 * table of the kind `ipt`. A process of its own, so that the work of sending does not hold up whoever is timed.
 */
const { manifest } = await benchBackbone()
const { d, vocab } = manifest.config
const m = Math.floor((maxAdapterBytes - 64 * 1024) / (2 * (vocab + d)))
const metadata = { kind: 'ipt', activation: 'gelu', m: String(m), l_sp: '1' }
const body = serializeAdapterFile(randomAdapter(manifest, { seed: 95, metadata }))

const Order = z.object({ edge: z.url(), key: z.string() })

async function upload(order: unknown): Promise<void> {
  const { edge, key } = Order.parse(order)
  const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/octet-stream' }
  const answer = await fetch(`${edge}/v1/adapters`, { method: 'POST', headers, body })
  if (!answer.ok) throw new Error(await answer.text())
}

process.on('message', (order) => {
  upload(order).then(
    () => process.send?.('uploaded'),
    (thrown: unknown) => {
      console.error(thrown)
      process.exit(1)
    },
  )
})
process.on('disconnect', () => process.exit(0))
process.send?.(body.length)
