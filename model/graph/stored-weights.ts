import { open, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import proto from 'onnx-proto'
import { QuartetError } from '../../shared/errors.ts'
import { graphFiles } from './export.ts'
import { q4Symmetric } from './four-bit-matrix.ts'
import { type MatrixFormat, matrixFormats } from './matrix-format.ts'

interface Stored {
  readonly offset: number
  readonly length: number
}

/**
 * The weights of a backbone folder in f32, by the names and in the shapes in which graphs ask for them: exactly the
 * values that are served, those of fewer bits dequantised. Throws `backbone_invalid` when one is not there.
 */
export async function readWeights(
  folder: string,
  shapes: ReadonlyMap<string, readonly number[]>,
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
    for (const [name, shape] of shapes) weights.set(name, await readTensor(name, { shape, stored, read }))
    return weights
  } finally {
    await file.close()
  }
}

interface Reading {
  readonly shape: readonly number[]
  readonly stored: ReadonlyMap<string, Stored>
  readonly read: (name: string) => Promise<Uint8Array<ArrayBuffer>>
}

/** A vector or table by its own name, a matrix in the format whose tensors are there. */
async function readTensor(name: string, { shape, stored, read }: Reading): Promise<Float32Array> {
  if (stored.has(name)) return new Float32Array((await read(name)).buffer)
  const [rows = 0, columns = 0] = shape
  const isStoredIn = (format: MatrixFormat) =>
    Object.keys(format.tensors({ rows, columns })).every((tensor) => stored.has(`${name}.${tensor}`))
  // What has offsets is found before what has none.
  const format = [...Object.values(matrixFormats), q4Symmetric].find(isStoredIn)
  // Where nothing is found, the reader says what is missing.
  if (format === undefined) return new Float32Array((await read(name)).buffer)
  const tensors = new Map<string, Uint8Array<ArrayBuffer>>()
  for (const tensor of Object.keys(format.tensors({ rows, columns })))
    tensors.set(tensor, await read(`${name}.${tensor}`))
  return format.decode({ rows, columns }, (tensor) => tensors.get(tensor) ?? new Uint8Array())
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
