import { createHash } from 'node:crypto'
import { expect, it } from 'vitest'
import { parseAdapterFile } from '../shared/adapter-file.ts'
import { type FileTensor, parseSafeTensors, serializeSafeTensors } from '../shared/safetensors.ts'
import {
  fakeExamples,
  fakeLossModel,
  fakeRational,
  fakeStatic,
  zeros,
} from '../test/fakes/fake-loss-model.ts'
import { decodeCheckpoint, encodeCheckpoint } from './checkpoint.ts'
import { exportCheckpoint } from './export-checkpoint.ts'
import { TrainSettings } from './settings.ts'
import { freshState, train } from './train.ts'

const identity = { 'the training data': 'a'.repeat(64), seed: '3', m: '64' }
const { specs } = fakeLossModel()
const of = { identity, metadata: fakeStatic, origin: { 'train.seed': '3' } }

const { state: trained } = await train({
  model: fakeLossModel(),
  start: freshState(zeros(fakeStatic)),
  data: { train: fakeExamples(9), dev: fakeExamples(3) },
  settings: TrainSettings.parse({ steps: 4, evaluateEvery: 2, batch: 4 }),
})

it('a checkpoint gives back the very state, values bit for bit', () => {
  expect(decodeCheckpoint(encodeCheckpoint(trained, of), { identity, specs })).toEqual(trained)
})

it('so does one of matrices that Muon trains, which have no second mean', async () => {
  const model = fakeLossModel({ metadata: fakeRational })
  const { state } = await train({
    model,
    start: freshState(zeros(fakeRational)),
    data: { train: fakeExamples(9), dev: fakeExamples(3) },
    settings: TrainSettings.parse({ steps: 4, evaluateEvery: 2, batch: 4 }),
  })
  const file = encodeCheckpoint(state, { ...of, metadata: fakeRational })
  expect(decodeCheckpoint(file, { identity, specs: model.specs })).toEqual(state)
  const names = [...parseSafeTensors(file).tensors.keys()]
  expect(names).toContain('first/layers.0.up')
  expect(names).not.toContain('second/layers.0.up')
  expect(names).toContain('second/layers.0.query')
})

it('a fresh state is one as well', () => {
  const fresh = freshState(zeros(fakeStatic))
  expect(decodeCheckpoint(encodeCheckpoint(fresh, of), { identity, specs })).toEqual(fresh)
})

it('a checkpoint from before optimisers could be chosen is one of AdamW', () => {
  const file = encodeCheckpoint(trained, of)
  expect(decodeCheckpoint(file, { identity: { ...identity, optimizer: 'adamw' }, specs })).toEqual(trained)
  expect(() => decodeCheckpoint(file, { identity: { ...identity, optimizer: 'muon' }, specs })).toThrow(
    /optimizer was adamw and is muon; give what it was started with/,
  )
})

it('a checkpoint without the second mean of a tensor of AdamW is refused', () => {
  const { metadata, tensors } = parseSafeTensors(encodeCheckpoint(trained, of))
  const fewer = new Map<string, FileTensor>(
    [...tensors].filter(([name]) => name !== 'second/layers.1.static'),
  )
  expect(fewer.size).toBe(tensors.size - 1)
  const file = serializeSafeTensors({ metadata: { ...metadata, sha256: hashOf(fewer) }, tensors: fewer })
  expect(() => decodeCheckpoint(file, { identity, specs })).toThrow(
    /it holds no f32 tensor second\/layers.1.static/,
  )
})

it('a checkpoint of another training is refused by the names of what has changed', () => {
  const file = encodeCheckpoint(trained, of)
  const changed = { ...identity, seed: '4', activation: 'gelu' }
  expect(() => decodeCheckpoint(file, { identity: changed, specs })).toThrow(
    /seed was 3 and is 4; activation was not given and is gelu; give what it was started with/,
  )
})

/** The file with other bytes as its state, or without it, and the hash of that. */
function withState(file: Uint8Array, state: Uint8Array | undefined): Uint8Array {
  const { metadata, tensors } = parseSafeTensors(file)
  const changed = new Map<string, FileTensor>([...tensors].filter(([name]) => name !== 'state'))
  if (state !== undefined) changed.set('state', { dtype: 'U8', shape: [state.length], data: state })
  return serializeSafeTensors({ metadata: { ...metadata, sha256: hashOf(changed) }, tensors: changed })
}

function hashOf(tensors: ReadonlyMap<string, FileTensor>): string {
  const hash = createHash('sha256')
  for (const [name, { data }] of tensors) hash.update(`${name}\0${data.length}\0`).update(data)
  return hash.digest('hex')
}

it.each([
  ['is no JSON', 'not JSON', /its state is not JSON/],
  ['ends too early', '{"identity":{', /its state is not JSON/],
  ['is empty', '', /its state is not JSON/],
  ['is other JSON', '[]', /expected object/],
  ['is not there', undefined, /it holds no tensor state/],
])('a file whose state %s is refused with what to do, though its hash is right', (_, state, says) => {
  const file = withState(
    encodeCheckpoint(trained, of),
    state === undefined ? undefined : new TextEncoder().encode(state),
  )
  const decode = () => decodeCheckpoint(file, { identity, specs })
  expect(decode).toThrow(says)
  expect(decode).toThrow(
    expect.objectContaining({
      code: 'checkpoint_invalid',
      message: expect.stringMatching(/remove it and train again without --resume$/),
    }),
  )
})

it('a file that is damaged anywhere is refused', () => {
  const file = encodeCheckpoint(trained, of)
  for (let at = 0; at < file.length; at += 97) {
    const damaged = file.slice()
    damaged[at] = (damaged[at] ?? 0) ^ 0x10
    expect(() => decodeCheckpoint(damaged, { identity, specs })).toThrow(/the checkpoint cannot be used/)
  }
  for (const length of [0, 7, 100, file.length - 1])
    expect(() => decodeCheckpoint(file.slice(0, length), { identity, specs })).toThrow(/cannot be used/)
})

it('an interrupted training’s adapter is exported from its checkpoint, the best tensors with their provenance', () => {
  const { bytes, devLoss, step, steps } = exportCheckpoint(encodeCheckpoint(trained, of))
  const { metadata, provenance } = parseAdapterFile(bytes)
  expect(metadata).toEqual(fakeStatic)
  expect({ devLoss, step, steps }).toEqual({
    devLoss: trained.best?.devLoss,
    step: trained.best?.step,
    steps: 4,
  })
  expect(provenance).toMatchObject({ 'train.seed': '3', 'train.outcome': 'interrupted', 'train.steps': '4' })
})

it('a checkpoint of before the first step has no adapter', () => {
  expect(() => exportCheckpoint(encodeCheckpoint(freshState(zeros(fakeStatic)), of))).toThrow(
    /before the first step, so there is no adapter yet; go on with --resume/,
  )
})
