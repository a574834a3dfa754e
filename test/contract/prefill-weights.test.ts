import { mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { compileAdapter } from '../../cli/compile/compile.ts'
import { demoTenants } from '../../cli/local/demo.ts'
import { demoAdapters } from '../../cli/local/demo-adapters.ts'
import { homeAt, makeHome } from '../../cli/local/home.ts'
import { backboneCodec } from '../../model/import/backbone-tokenizer.ts'
import { encode, TokenizerJson } from '../../model/import/tokenizer.ts'
import type { OnnxBackend } from '../../model/runtime/onnx-backend.ts'
import { type PrefillWeights, prefillWeights } from '../../model/runtime/prefill-weights.ts'
import { parseAdapterFile } from '../../shared/adapter-file.ts'
import { openEvaluationBackend } from '../../training/evaluation/evaluate.ts'
import { tinyChat, tinySpecials, tinyTokenizer } from '../fakes/tiny-tokenizer.ts'
import { scoreAll } from '../parity/generation.ts'
import { openBackend, type TinyBackbone, tinyBackbone } from '../parity/tiny-backbone.ts'

async function made(): Promise<TinyBackbone> {
  const tokens = { bos: tinySpecials.imStart, eos: [tinySpecials.imEnd, tinySpecials.endOfText] }
  const text = { tokenizer: TokenizerJson.parse(tinyTokenizer), tokens, chat: tinyChat }
  const tiny = await tinyBackbone({ config: { vocab: 303 }, text, weights: 'q8' })
  onTestFinished(() => rm(dirname(tiny.folder), { recursive: true }))
  return tiny
}

async function closing(opening: Promise<OnnxBackend>): Promise<OnnxBackend> {
  const backend = await opening
  onTestFinished(() => backend.close())
  return backend
}

test.for(prefillWeights)(
  'a text compiled by %s weights is itself, bit for bit, at a node that reads by them',
  async (by) => {
    const tiny = await made()
    const source = { kind: 'text', text: 'You are terse, and never say more than one word.' } as const
    const { bytes } = await compileAdapter(tiny, { source, prefillWeights: by })
    const node = await closing(openBackend(tiny, { threads: 1, prefillWeights: by }))
    const adapter = node.loadAdapter(parseAdapterFile(bytes))
    const text = encode(await backboneCodec(tiny), source.text)
    const prompt = [7, 8, 9]
    const behind = await scoreAll(node, { tokens: [...text, ...prompt] })
    const { vocab } = node.limits
    expect(await scoreAll(node, { tokens: prompt, adapter })).toEqual(behind.slice(-prompt.length * vocab))
  },
)

test('an evaluation reads prompts by the weights that it is told of', async () => {
  const tiny = await made()
  const tokens = Array.from({ length: 24 }, (_, at) => (at * 31 + 3) % 256)
  const examples = [{ instruction: tokens, response: [5] }]
  const scores = async (by: PrefillWeights) => {
    const of = { examples, maxTokens: 1, promptRows: 0, threads: 1, prefillWeights: by }
    return scoreAll(await closing(openEvaluationBackend(tiny, of)), { tokens })
  }
  for (const by of prefillWeights) {
    const node = await closing(openBackend(tiny, { threads: 1, prefillWeights: by }))
    expect(await scores(by)).toEqual(await scoreAll(node, { tokens }))
  }
  expect(await scores('f32')).not.toEqual(await scores('stored'))
})

test('the demo’s compiled adapters are made anew where nodes read prompts by other weights', async () => {
  const backbone = await made()
  const home = homeAt(await mkdtemp(join(tmpdir(), 'quartet-demo-')))
  onTestFinished(() => rm(home.folder, { recursive: true }))
  await makeHome(home)
  const tenants = (await demoTenants()).filter(({ adapter }) => adapter.made === 'compiled').slice(0, 1)
  const digest = async (by: PrefillWeights) =>
    (await demoAdapters(home, { backbone, tenants, prefillWeights: by }))[0]?.digest
  const [stored, f32] = [await digest('stored'), await digest('f32')]
  expect(f32).not.toBe(stored)
  expect(await digest('stored')).toBe(stored)
  expect(await readdir(home.demoAdapters)).toHaveLength(2)
})
