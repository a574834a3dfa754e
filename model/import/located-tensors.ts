import type { ModelConfig } from '../../shared/backbone.ts'
import type { Fused, LayerNames } from '../architectures/architecture.ts'
import { decoderTensors, LayerTensor } from '../architectures/decoder-tensors.ts'
import type { TensorName } from '../architectures/tensor-source.ts'
import { invalidBackbone } from '../backbone/invalid-backbone.ts'
import type { BlockFormat } from './element-types.ts'
import type { TensorFile } from './tensor-file.ts'

/** A tensor as a file's header lists it. */
export interface Entry {
  readonly file: TensorFile
  /** [out, in], row-major. */
  readonly shape: readonly number[]
  /** How the file calls its type. */
  readonly typeName: string
  /** Byte offset from the start of the file. */
  readonly start: number
}

/** The names of a decoder's tensors in a file. */
interface Names {
  readonly embedding: string
  readonly norm: string
  readonly head: string
  /** The prefix of a layer's names. */
  layer(layer: number): string
  readonly ofLayer: LayerNames
  readonly fused: Fused
}

export interface Locating {
  readonly config: ModelConfig
  readonly entries: ReadonlyMap<string, Entry>
  readonly names: Names
  readonly types: Readonly<Record<string, BlockFormat>>
  /** Named in the error for a tensor that is missing. */
  readonly source: string
  /** The subject of the error “has shape [..]; {settings} mean [..]”. */
  readonly settings: string
  /** What helps where tensors and settings do not belong together. */
  readonly remedy: string
}

/** Where each of a decoder's tensors lies, and the stored tensors that none of them is part of. */
export interface Located {
  readonly tensors: ReadonlyMap<TensorName, LocatedTensor>
  readonly unused: readonly string[]
}

export interface LocatedTensor {
  /** The name of the stored tensor that it is, or is a part of. */
  readonly name: string
  readonly file: TensorFile
  readonly type: BlockFormat
  readonly elements: number
  readonly start: number
}

/** Finds every tensor of a decoder, with name, shape, type and extent checked. Throws `backbone_invalid`. */
export function locateTensors(locating: Locating): Located {
  const { config, entries, source, settings, remedy } = locating
  const shapes = decoderTensors(config)
  const unused = new Set(entries.keys())
  const tensors = new Map<TensorName, LocatedTensor>()
  const take = (stored: string, shape: readonly number[]) => {
    const entry = entries.get(stored)
    if (entry === undefined)
      throw invalidBackbone(source, `tensor ${stored} is missing, which ${settings} demand; ${remedy}`)
    unused.delete(stored)
    return checked(stored, { entry, shape, locating })
  }
  for (const [name, shape] of shapes) {
    const whole = fusedWith(name, { shapes, locating })
    if (whole === undefined) {
      tensors.set(name, take(storedName(name, locating.names), shape))
      continue
    }
    const { stored, rows, before } = whole
    const fused = take(stored, [rows, ...shape.slice(1)])
    const [own = 0] = shape
    const blocks = fused.elements / rows / fused.type.elements
    tensors.set(name, {
      ...fused,
      elements: (fused.elements / rows) * own,
      start: fused.start + before * blocks * fused.type.bytes,
    })
  }
  return { tensors, unused: [...unused] }
}

/** Name of the stored tensor that a decoder's tensor is, where it is one by itself. */
function storedName(name: TensorName, names: Names): string {
  if (name === 'embedding' || name === 'norm' || name === 'head') return names[name]
  const [, layer, tensor] = name.split('.')
  const { stem, kind } = parts(LayerTensor.parse(tensor))
  return `${names.layer(Number(layer))}${names.ofLayer[stem] ?? stem}.${kind}`
}

/** `q_bias` is the bias of what `q` is the weight of. */
function parts(tensor: LayerTensor): { stem: LayerTensor; kind: 'weight' | 'bias' } {
  return tensor.endsWith('_bias')
    ? { stem: LayerTensor.parse(tensor.replace('_bias', '')), kind: 'bias' }
    : { stem: tensor, kind: 'weight' }
}

interface Whole {
  readonly stored: string
  /** Rows of the stored matrix, and those in front of this tensor's own. */
  readonly rows: number
  readonly before: number
}

/** The stored tensor that this one is a stretch of rows of, where the file has them fused. */
function fusedWith(
  name: TensorName,
  {
    shapes,
    locating: { names, entries },
  }: { shapes: ReadonlyMap<TensorName, readonly number[]>; locating: Locating },
): Whole | undefined {
  const [, layer, tensor] = name.split('.')
  if (tensor === undefined) return undefined
  const { stem, kind } = parts(LayerTensor.parse(tensor))
  for (const [matrix, members] of Object.entries(names.fused)) {
    if (!members.includes(stem)) continue
    const stored = `${names.layer(Number(layer))}${matrix}.${kind}`
    // Some files have the parts apart after all.
    const apart = `${names.layer(Number(layer))}${names.ofLayer[stem] ?? stem}.${kind}`
    if (apart !== stored && entries.has(apart)) return undefined
    const rowsOf = (member: LayerTensor) => {
      const suffix = kind === 'bias' ? '_bias' : ''
      return shapes.get(`layers.${Number(layer)}.${LayerTensor.parse(`${member}${suffix}`)}`)?.[0] ?? 0
    }
    const before = members.slice(0, members.indexOf(stem)).reduce((sum, member) => sum + rowsOf(member), 0)
    return { stored, rows: members.reduce((sum, member) => sum + rowsOf(member), 0), before }
  }
  return undefined
}

function checked(
  stored: string,
  {
    entry,
    shape,
    locating: { types, settings, remedy },
  }: { entry: Entry; shape: readonly number[]; locating: Locating },
): LocatedTensor {
  const { file, start, typeName } = entry
  if (entry.shape.length !== shape.length || entry.shape.some((n, axis) => n !== shape[axis]))
    throw invalidBackbone(
      file.path,
      `tensor ${stored} has shape [${entry.shape}]; ${settings} mean [${shape}]; ${remedy}`,
    )
  const type = Object.hasOwn(types, typeName) ? types[typeName] : undefined
  if (type === undefined)
    throw invalidBackbone(
      file.path,
      `tensor ${stored} has the type ${typeName}, which is not supported; use one of ${Object.keys(types).join(', ')}`,
    )
  const rowLength = shape.at(-1) ?? 0
  if (rowLength % type.elements !== 0)
    throw invalidBackbone(file.path, `rows of ${rowLength} do not fit ${typeName}'s blocks (${stored})`)
  const elements = shape.reduce((product, n) => product * n, 1)
  const end = start + (elements / type.elements) * type.bytes
  if (!Number.isSafeInteger(end) || end > file.bytes)
    throw invalidBackbone(
      file.path,
      `the file is truncated: ${stored} ends at byte ${end} of ${file.bytes}; download it again`,
    )
  return { name: stored, file, type, elements, start }
}

/** A tensor's values. Throws `backbone_invalid` that names the tensor when one of them is not a finite number. */
export async function readLocated(located: LocatedTensor): Promise<Float32Array> {
  const values = await located.file.readTensor(located)
  const at = values.findIndex((value) => !Number.isFinite(value))
  if (at !== -1)
    throw invalidBackbone(
      located.file.path,
      `tensor ${located.name} holds ${values[at]} at place ${at}; a model with such weights cannot be served: download or convert it again`,
    )
  return values
}
