import { stat } from 'node:fs/promises'
import { Command } from 'commander'
import { parseAdapterFile } from '../shared/adapter-file.ts'
import { sha256Hex } from '../shared/digest.ts'
import { QuartetError } from '../shared/errors.ts'
import { maxCheckpointBytes } from '../training/checkpoint.ts'
import { type ExportedAdapter, exportCheckpoint } from '../training/export-checkpoint.ts'
import { CliFailure } from './command/failure.ts'
import { readNamedFile } from './command/named-file.ts'
import { note, print } from './command/output.ts'
import { assertAbsent, assertNotRead, assertWritable } from './command/output-file.ts'
import { writeFileAtomically } from './local/atomic-file.ts'

/** `quartet adapter export`: the adapter that an interrupted training has reached. */
export function exportCommand(): Command {
  return new Command('export')
    .description('write the adapter that an interrupted training has reached')
    .argument('<checkpoint>', 'what adapter train left beside its --out')
    .requiredOption('--out <file>', 'where to write the adapter')
    .option('--force', 'replace the file that is there')
    .action(async (path: string, { out, force = false }: { out: string; force?: boolean }) => {
      const output = { option: '--out', path: out }
      await assertWritable(output)
      assertNotRead(output, [path])
      if (!force) await assertAbsent(output)
      const { size } = await stat(path)
      if (size > maxCheckpointBytes)
        throw new CliFailure(`${path} has ${size} bytes; a checkpoint has at most ${maxCheckpointBytes}`)
      const { bytes, devLoss, step, steps } = exported(path, await readNamedFile(path))
      await writeFileAtomically(out, { data: bytes, mode: 0o644 })
      const measured = devLoss === undefined ? '' : `, the best dev loss: ${devLoss.toFixed(4)}`
      note(`${out}: the tensors of step ${step}${measured}; training had come to step ${steps}`)
      print(await sha256Hex(bytes))
    })
}

function exported(path: string, file: Uint8Array): ExportedAdapter {
  try {
    return exportCheckpoint(file)
  } catch (cause) {
    if (!(cause instanceof QuartetError) || cause.code !== 'checkpoint_invalid') throw cause
    throw isAdapter(file)
      ? new CliFailure(`${path} is an adapter already`, { remedy: 'publish it as it is' })
      : new CliFailure(`${path} is no whole checkpoint of a training`, {
          remedy: 'name the .checkpoint file that adapter train left beside its --out',
          cause,
        })
  }
}

function isAdapter(file: Uint8Array): boolean {
  try {
    parseAdapterFile(file)
    return true
  } catch {
    return false
  }
}
