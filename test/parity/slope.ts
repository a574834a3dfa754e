import type { AdapterFile } from '../../shared/adapter-file.ts'
import { Random } from '../../shared/prng.ts'
import type { FileTensor } from '../../shared/safetensors.ts'
import type { Example } from '../../training/data/example.ts'
import type { Parameters } from '../../training/loss/loss-model.ts'
import type { OnnxLossModel } from '../../training/loss/onnx-loss-model.ts'

/** An adapter's tensors as a trainer moves them. */
export function parametersOf({ tensors }: AdapterFile): Map<string, Float32Array> {
  return new Map(Array.from(tensors, ([name, tensor]) => [name, numbers(tensor)]))
}

function numbers({ data, dtype }: FileTensor): Float32Array {
  const { buffer } = Uint8Array.from(data)
  return dtype === 'F16' ? Float32Array.from(new Float16Array(buffer)) : new Float32Array(buffer)
}

export interface Slope {
  readonly name: string
  readonly parameters: Parameters
  readonly gradients: Parameters
  readonly batch: readonly Example[]
}

/**
 * The loss's slope as one tensor moves along its gradient and along random signs at once: by the gradient, and by
 * fourth-order central differences of the loss.
 */
export async function slope(model: OnnxLossModel, { name, parameters, gradients, batch }: Slope) {
  const gradient = gradients.get(name) ?? new Float32Array(0)
  const start = parameters.get(name) ?? new Float32Array(0)
  const unit = 1 / (norm(gradient) + 1e-12)
  const signs = new Random(11)
  const spread = 0.3 / Math.sqrt(gradient.length)
  const direction = gradient.map((x) => x * unit + (signs.next() < 0.5 ? -spread : spread))
  const expected = direction.reduce((total, x, i) => total + x * (gradient[i] ?? 0), 0)
  const lossAt = async (distance: number) => {
    const moved = start.map((x, i) => x + distance * (direction[i] ?? 0))
    return sum(await model.score(batch, new Map([...parameters, [name, moved]])))
  }
  const measure = async (step: number) => {
    const near = (await lossAt(step)) - (await lossAt(-step))
    const far = (await lossAt(2 * step)) - (await lossAt(-2 * step))
    return (8 * near - far) / (12 * step)
  }
  // Where the loss is steep, it is curved as well; and a kink, of ReLU or of |b(x)|, may lie within a step.
  const step = 0.02 / Math.max(1, norm(gradient))
  const wide = await measure(step)
  // Nearer than any test asks for.
  if (Math.abs(wide - expected) < 1e-3 * Math.abs(expected)) return { expected, measured: wide }
  const narrow = await measure(step / 6)
  return { expected, measured: Math.abs(wide - expected) < Math.abs(narrow - expected) ? wide : narrow }
}

export const sum = (values: Iterable<number>) => [...values].reduce((a, b) => a + b, 0)
const norm = (values: ArrayLike<number>) => Math.sqrt(sum(Array.from(values, (x) => x * x)))
export const distance = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  norm(Array.from(b, (x, i) => x - (a[i] ?? Number.NaN))) / (norm(b) + 1e-6)
