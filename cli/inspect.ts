import { stat } from 'node:fs/promises'
import { Command } from 'commander'
import type { AdapterFile } from '../shared/adapter-file.ts'
import { sha256Hex } from '../shared/digest.ts'
import { adapterBytes, parameterCount } from '../shared/training/describe-adapter.ts'
import { maxAdapterBytes } from '../shared/wire.ts'
import { checkpointFormat, isCheckpoint, maxCheckpointBytes, openCheckpoint } from '../training/checkpoint.ts'
import { adapterIn } from './command/adapter-in.ts'
import { CliFailure } from './command/failure.ts'
import { readNamedFile } from './command/named-file.ts'
import { note, printJson, printTable } from './command/output.ts'

/** `quartet adapter inspect` shows an adapter file's contents and origin. */
export function inspectCommand(): Command {
  return new Command('inspect')
    .description('check an adapter or a training’s checkpoint and say what is in it')
    .argument('<file>', 'the adapter, or the checkpoint')
    .option('--json', 'as JSON')
    .action(async (file: string, options: { json?: true }) => {
      const { size } = await stat(file)
      if (size > maxCheckpointBytes)
        throw new CliFailure(`${file} has ${size} bytes; an adapter has at most ${maxAdapterBytes}`)
      const bytes = await readNamedFile(file)
      if (isCheckpoint(bytes)) return printCheckpoint(bytes, options)
      const adapter = adapterIn(file, bytes)
      const { metadata, provenance } = adapter
      const description = {
        digest: await sha256Hex(bytes),
        bytes: bytes.length,
        parameters: parameterCount(metadata),
        tensor_bytes: adapterBytes(metadata),
        ...metadata,
        ...provenance,
      }
      const tensors = tensorRows(adapter)
      if (options.json)
        return printJson({
          ...description,
          tensors: tensors.map(([name, dtype, shape]) => ({ name, dtype, shape })),
        })
      printTable(
        ['property', 'value'],
        Object.entries(description).map(([name, value]) => [name, String(value)]),
      )
      printTable(['tensor', 'dtype', 'shape'], tensors)
    })
}

/** How far a training has come. */
function printCheckpoint(bytes: Uint8Array, { json }: { json?: true }): void {
  const { metadata, origin, state } = openCheckpoint(bytes)
  const untuned = state.history.find(({ type }) => type === 'untuned')
  const last = state.history.findLast(({ type }) => type === 'step')
  const description = {
    step: state.step,
    seconds: Math.round(state.seconds),
    loss: last?.type === 'step' ? last.loss : undefined,
    best_step: state.best?.step,
    dev_loss: state.best?.devLoss,
    dev_loss_untuned: untuned?.type === 'untuned' ? untuned.devLoss : undefined,
    parameters: parameterCount(metadata),
    ...metadata,
    // Last, as the format is an adapter's otherwise.
    format: checkpointFormat,
    ...origin,
  }
  if (json) {
    printJson(description)
    return
  }
  printTable(
    ['property', 'value'],
    Object.entries(description).flatMap(([name, value]) =>
      value === undefined ? [] : [[name, String(value)]],
    ),
  )
  note('an unfinished training: go on with adapter train --resume, or write its adapter with adapter export')
}

/** Tensors by name, those of the layers in one row: `layers.0…29.down`. */
function tensorRows({ tensors }: AdapterFile): [name: string, dtype: string, shape: string][] {
  const alike = Map.groupBy([...tensors], ([name, { dtype, shape }]) =>
    [name.replace(/^layers\.[0-9]+\./, 'layers.*.'), dtype, `[${shape.join(', ')}]`].join('\t'),
  )
  return [...alike].map(([key, members]) => {
    const [name = '', dtype = '', shape = ''] = key.split('\t')
    const layers = members
      .map(([member]) => /^layers\.([0-9]+)\./.exec(member)?.[1])
      .filter((l) => l !== undefined)
    const span = layers.length > 1 ? `${layers[0]}…${layers.at(-1)}` : (layers[0] ?? '')
    return [name.replace('*', span), dtype, shape]
  })
}
