import { open, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import proto from 'onnx-proto'
import { QuartetError } from '../../shared/errors.ts'
import { graphFiles } from './export.ts'
import { blockSize } from './quantise.ts'

interface Stored {
  readonly offset: number
  readonly length: number
}

/**
 * The weights of a backbone folder in f32, by the names under which its graphs ask for them: exactly the values that
 * are served, 8-bit ones dequantised. Throws `backbone_invalid` when one is not there.
 */
export async function readWeights(
  folder: string,
  names: readonly string[],
): Promise<Map<string, Float32Array>> {
  const stored = await weightTable(folder)
  const file = await open(join(folder, graphFiles.weights))
  try {
    const read = async (name: string) => {
      const place = stored.get(name)
      if (place === undefined) throw missing(folder, name)
      const bytes = new Uint8Array(place.length)
      const { bytesRead } = await file.read(bytes, 0, place.length, place.offset)
      if (bytesRead !== place.length) throw missing(folder, name)
      return bytes
    }
    const weights = new Map<string, Float32Array>()
    for (const name of names) weights.set(name, await readTensor(name, { stored, read }))
    return weights
  } finally {
    await file.close()
  }
}

interface Reading {
  readonly stored: ReadonlyMap<string, Stored>
  readonly read: (name: string) => Promise<Uint8Array<ArrayBuffer>>
}

/** A vector or table by its own name, a matrix in one of the formats of `matrixFormats`. */
async function readTensor(name: string, { stored, read }: Reading): Promise<Float32Array> {
  const floats = async (tensor: string) => new Float32Array((await read(tensor)).buffer)
  if (stored.has(name)) return floats(name)
  if (stored.has(`${name}.weights`)) return floats(`${name}.weights`)
  return dequantise({
    quants: await read(`${name}.quants`),
    scales: await floats(`${name}.scales`),
    zeroPoints: await read(`${name}.zeroPoints`),
  })
}

/** weight = (quant − zero point) · scale, block by block. */
function dequantise(of: { quants: Uint8Array; scales: Float32Array; zeroPoints: Uint8Array }): Float32Array {
  const { quants, scales, zeroPoints } = of
  const weights = new Float32Array(quants.length)
  for (const [block, scale] of scales.entries()) {
    const zeroPoint = zeroPoints[block] ?? 0
    const end = (block + 1) * blockSize
    for (let i = block * blockSize; i < end; i++) weights[i] = ((quants[i] ?? 0) - zeroPoint) * scale
  }
  return weights
}

/** Where the served graph's weights lie in the file beside it. */
async function weightTable(folder: string): Promise<ReadonlyMap<string, Stored>> {
  const model = proto.onnx.ModelProto.decode(await readFile(join(folder, graphFiles.serving)))
  return new Map(
    (model.graph?.initializer ?? []).flatMap(({ name, externalData }) => {
      const entry = (key: string) => Number(externalData?.find((each) => each.key === key)?.value)
      const [offset, length] = [entry('offset'), entry('length')]
      return name && Number.isSafeInteger(offset) && Number.isSafeInteger(length)
        ? [[name, { offset, length }] as const]
        : []
    }),
  )
}

function missing(folder: string, name: string): QuartetError {
  return new QuartetError(
    'backbone_invalid',
    `${folder} does not hold the weights ${name}; remove the folder and pull the backbone again`,
  )
}
