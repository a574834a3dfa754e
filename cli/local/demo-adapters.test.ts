import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { type AdapterFile, parseAdapterFile, serializeAdapterFile } from '../../shared/adapter-file.ts'
import type { BackboneManifest } from '../../shared/backbone.ts'
import { sha256Hex } from '../../shared/digest.ts'
import { BackboneDigest } from '../../shared/ids.ts'
import { type DemoTenant, demoTenants } from './demo.ts'
import { demoAdapters, knownDemoDigests } from './demo-adapters.ts'
import { type Home, homeAt, makeHome } from './home.ts'

let home: Home
let trained: readonly DemoTenant[]
let shipped: AdapterFile
beforeEach(async () => {
  home = homeAt(await mkdtemp(join(tmpdir(), 'quartet-demo-')))
  await makeHome(home)
  trained = (await demoTenants()).filter(({ adapter }) => adapter.made === 'trained').slice(0, 1)
  const [tenant] = trained
  if (tenant?.adapter.made !== 'trained') throw new Error('the demo has a trained adapter')
  shipped = parseAdapterFile(new Uint8Array(await readFile(tenant.adapter.path)))
})
afterEach(() => rm(home.folder, { recursive: true }))

/** A backbone with these weights; nothing else of it is looked at. */
function backbone(digest: BackboneDigest) {
  const manifest: BackboneManifest = {
    format: 'quartet-backbone/1',
    slug: shipped.metadata.backbone,
    digest,
    config: {
      layers: 1,
      d: 1,
      heads: 1,
      kvHeads: 1,
      headDim: 1,
      ffn: 1,
      vocab: 1,
      contextLength: 1,
      rotary: [{ theta: 1 }],
      rmsEps: 1,
      tiedHead: true,
    },
    weights: 'q8',
    graph: 1,
    tokens: { bos: null, eos: [0] },
    chat: { template: '' },
    files: {},
    source: { kind: 'seeded', name: '', sha256: '' },
  }
  return { folder: home.folder, manifest }
}

const otherWeights = BackboneDigest.parse('0'.repeat(64))

test('an adapter for the backbone that is there is shown, and known again later', async () => {
  const [adapter] = await demoAdapters(home, {
    backbone: backbone(shipped.metadata.backbone_sha256),
    prefillWeights: 'stored',
    tenants: trained,
  })
  expect(adapter?.tenant.alias).toBe('tickets')
  expect(await knownDemoDigests(home)).toEqual(new Set([adapter?.digest]))
})

test('one for other weights is left out, with the command that trains it for these', async () => {
  const said = vi.spyOn(process.stderr, 'write').mockReturnValue(true)
  try {
    expect(
      await demoAdapters(home, {
        backbone: backbone(otherWeights),
        prefillWeights: 'stored',
        tenants: trained,
      }),
    ).toEqual([])
    expect(said.mock.calls.join('')).toMatch(
      /tickets is left out: .*npx quartet adapter train --backbone \S+ --data demo\/tickets\.train\.jsonl --m 16 --out .*tickets-for-0{32}\.safetensors/,
    )
  } finally {
    said.mockRestore()
  }
  expect(await readdir(home.demoAdapters)).toEqual([])
})

test('one that was trained by that command is shown', async () => {
  const metadata = { ...shipped.metadata, backbone_sha256: otherWeights }
  const bytes = serializeAdapterFile({ ...shipped, metadata })
  await writeFile(join(home.demoAdapters, `tickets-for-${'0'.repeat(32)}.safetensors`), bytes)
  const adapters = await demoAdapters(home, {
    backbone: backbone(otherWeights),
    prefillWeights: 'stored',
    tenants: trained,
  })
  expect(adapters.map(({ digest }) => digest)).toEqual([await sha256Hex(bytes)])
})
