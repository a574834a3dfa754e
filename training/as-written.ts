import {
  type AdapterFile,
  type AdapterMetadata,
  adapterTensorSpecs,
  type TensorSpec,
} from '../shared/adapter-file.ts'
import type { DType, FileTensor } from '../shared/safetensors.ts'
import { divergence } from './divergence.ts'
import type { Parameters } from './loss/loss-model.ts'

/** The values that a file gives back for these tensors. Throws `training_diverged` for one that 16 bits cannot hold. */
export function asWritten(parameters: Parameters, specs: ReadonlyMap<string, TensorSpec>): Parameters {
  return new Map(
    [...specs].map(([name, { dtype }]) => {
      const values = tensorOf(parameters, name)
      const rounded = dtype === 'F16' ? Float32Array.from(Float16Array.from(values)) : values.slice()
      if (!rounded.every(Number.isFinite))
        throw divergence(`the tensor ${name} has grown beyond 16-bit floats`)
      return [name, rounded]
    }),
  )
}

const encoders = {
  F16: (values: Float32Array) => new Uint8Array(Float16Array.from(values).buffer),
  F32: (values: Float32Array) => new Uint8Array(values.slice().buffer),
} as const satisfies Partial<Record<DType, (values: Float32Array) => Uint8Array>>

/** An adapter file of these tensors, in its own precision. */
export function adapterFile(
  metadata: AdapterMetadata,
  { parameters, provenance }: { parameters: Parameters; provenance: Readonly<Record<string, string>> },
): AdapterFile {
  const tensors = new Map(
    [...adapterTensorSpecs(metadata)].map(([name, { dtype, shape }]): [string, FileTensor] => {
      if (dtype !== 'F16' && dtype !== 'F32') throw new Error(`the tensor ${name} has the dtype ${dtype}`)
      return [name, { dtype, shape, data: encoders[dtype](tensorOf(parameters, name)) }]
    }),
  )
  return { metadata, provenance, tensors }
}

/** An adapter file's tensors in f32. */
export function parametersOf({ tensors }: AdapterFile): Parameters {
  return new Map([...tensors].map(([name, tensor]) => [name, floatsOf(tensor)]))
}

/** Copied first: a tensor in a file need not lie at a multiple of its element's size. */
function floatsOf({ dtype, data }: FileTensor): Float32Array {
  const { buffer } = Uint8Array.from(data)
  if (dtype === 'F32') return new Float32Array(buffer)
  if (dtype === 'F16') return Float32Array.from(new Float16Array(buffer))
  throw new Error(`an adapter has no tensors of dtype ${dtype}`)
}

function tensorOf(parameters: Parameters, name: string): Float32Array {
  const values = parameters.get(name)
  if (values === undefined) throw new Error(`there is no parameter ${name}`)
  return values
}
