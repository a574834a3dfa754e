import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { BackboneDigest } from '../../shared/ids.ts'
import { maxAdapterBytes } from '../../shared/wire.ts'
import { tinyAdapter } from '../fakes/tiny-adapter.ts'
import { fakeNode, refusal } from './node-client.ts'

let node: Awaited<ReturnType<typeof fakeNode>>

beforeAll(async () => {
  node = await fakeNode()
})
afterAll(() => node.close())

describe('a pushed adapter', () => {
  it.each([
    ['with NaN', () => tinyAdapter({ seed: 1 }).map((byte, at, all) => (at >= all.length - 2 ? 0x7e : byte))],
    ['with a shape that its metadata do not state', () => replaced('"shape":[2,4]', '"shape":[4,2]')],
    ['with a lying header length', () => tinyAdapter({ seed: 1 }).with(6, 0xff)],
    ['cut short', () => tinyAdapter({ seed: 1 }).slice(0, -2)],
    ['of unknown kind', () => replaced('"static"', '"magick"')],
    ['that is empty', () => new Uint8Array()],
  ])('%s is refused with one clear error', async (_what, make) => {
    const before = await node.metric('quartet_node_adapters_resident')
    expect(await refusal(await node.putAdapter(make()))).toMatchObject({
      status: 400,
      code: 'adapter_invalid',
    })
    expect(await node.metric('quartet_node_adapters_resident')).toBe(before)
  })

  it('for another backbone is refused', async () => {
    const file = tinyAdapter({ seed: 1, backbone: BackboneDigest.parse('b'.repeat(64)) })
    expect(await refusal(await node.putAdapter(file))).toMatchObject({
      status: 400,
      code: 'backbone_mismatch',
    })
  })

  it('with a wrong hash is refused', async () => {
    const path = 'c'.repeat(64)
    expect(await refusal(await node.putAdapter(tinyAdapter({ seed: 1 }), { path }))).toMatchObject({
      status: 400,
      code: 'digest_mismatch',
    })
  })

  it('over the size limit is refused', async () => {
    expect(await refusal(await node.putAdapter(new Uint8Array(maxAdapterBytes + 1)))).toMatchObject({
      status: 413,
      code: 'body_too_large',
    })
  })

  it('is loaded once when two edges push it at the same time', async () => {
    const file = tinyAdapter({ seed: 9 })
    const before = await node.metric('quartet_node_adapter_loads_total')
    const answers = await Promise.all([node.putAdapter(file), node.putAdapter(file)])
    expect(answers.map(({ status }) => status)).toEqual([200, 200])
    expect(await node.metric('quartet_node_adapter_loads_total')).toBe(before + 1)
  })

  function replaced(from: string, to: string): Uint8Array<ArrayBuffer> {
    const text = Buffer.from(tinyAdapter({ seed: 1 })).toString('latin1')
    return new Uint8Array(Buffer.from(text.replace(from, to), 'latin1'))
  }
})
