import {
  type AdapterFile,
  type AdapterKind,
  type AdapterMetadata,
  adapterTensorSpecs,
  carriedFrom,
} from '../../shared/adapter-file.ts'
import { activations, type Pool, pools } from '../graph/generator.ts'
import { type Program, programs } from '../graph/prompt-inputs.ts'
import { range } from './row-places.ts'
import { bool, bools, float16, float32, int64, type Tensor, type Tensors } from './tensors.ts'

type MetadataOf<K extends AdapterKind> = Extract<AdapterMetadata, { kind: K }>

/** How the serving graph makes a kind's rows. */
interface Recipe {
  readonly program: Program
  readonly pool: Pool
}

/** One row per kind. Which tensors a kind has is the file format's to say. */
const recipes: { readonly [K in AdapterKind]: (metadata: MetadataOf<K>) => Recipe } = {
  iapt: () => ({ program: 'generated', pool: 'attention' }),
  static: () => ({ program: 'fixed', pool: 'given' }),
  idpg: ({ pool }) => ({ program: 'general', pool }),
  lpt: ({ pool }) => ({ program: 'general', pool }),
  ipt: () => ({ program: 'general', pool: 'given' }),
}

function recipeOf(metadata: AdapterMetadata): Recipe {
  switch (metadata.kind) {
    case 'iapt':
      return recipes.iapt(metadata)
    case 'static':
      return recipes.static(metadata)
    case 'idpg':
      return recipes.idpg(metadata)
    case 'lpt':
      return recipes.lpt(metadata)
    case 'ipt':
      return recipes.ipt(metadata)
  }
}

/** The graph input that takes each tensor of a layer; the others stay outside the graph. */
const inputs = [
  ['anchor', 'own'],
  ['static', 'static'],
  ['down', 'down'],
  ['query', 'query'],
  ['up', 'up'],
  ['rational', 'rational'],
] as const

/** An adapter's own graph inputs `prompt.…`, in its file's precision. Inputs that it does not name keep their defaults. */
export function promptTensors(file: AdapterFile): Tensors {
  const { metadata } = file
  const { program, pool } = recipeOf(metadata)
  const from = carriedFrom(metadata)
  const everyLayer = range(0, metadata.layers)
  const stacks = inputs.flatMap(([tensor, input]) => {
    const stacked = stack(file, tensor)
    return stacked === undefined ? [] : [[`prompt.${input}`, stacked] as const]
  })
  const own = Object.fromEntries(stacks)
  // Where every layer has its own, a layer's is found by its number; one for all is the first.
  const indexes = (input: string) => {
    const isEach = own[input]?.dims[0] === metadata.layers
    return int64(everyLayer.map((layer) => (isEach ? layer : 0)))
  }
  return {
    ...own,
    'prompt.program': int64([programs.indexOf(program)], []),
    'prompt.made': bools(everyLayer.map((layer) => from === undefined || layer === from)),
    'prompt.pool': int64([pools.indexOf(pool)], []),
    'prompt.carried': bool(from !== undefined),
    'prompt.generator_of': indexes('prompt.up'),
    'prompt.own_of': indexes('prompt.own'),
    ...(metadata.kind === 'static'
      ? {}
      : { 'prompt.activation': int64([activations.indexOf(metadata.activation)], []) }),
  }
}

/** All layers' tensors of this name in one, [how many, …]; undefined when the adapter has none of it in the graph. */
function stack({ metadata, tensors }: AdapterFile, name: string): Tensor | undefined {
  const specs = [...adapterTensorSpecs(metadata)].filter(([full]) => full.endsWith(`.${name}`))
  const [first] = specs
  if (first === undefined || (name === 'static' && isExact(metadata))) return undefined
  const [, { dtype, shape }] = first
  const bytes = concatenated(specs.flatMap(([full]) => tensors.get(full)?.data ?? []))
  const dims = [specs.length, ...shape]
  return dtype === 'F16' ? float16(new Uint16Array(bytes), dims) : float32(new Float32Array(bytes), dims)
}

/** Rows in f32 enter the graph in place of anchors, as they are. */
export function isExact(metadata: AdapterMetadata): boolean {
  return metadata.kind === 'static' && metadata.precision === 'f32'
}

export function concatenated(parts: readonly Uint8Array[]): ArrayBuffer {
  const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0))
  let at = 0
  for (const part of parts) {
    bytes.set(part, at)
    at += part.length
  }
  return bytes.buffer
}
