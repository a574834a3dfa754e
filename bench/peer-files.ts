import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { CliFailure } from '../cli/command/failure.ts'
import { roundsNamed } from './rounds.ts'

/** The options of a benchmark that name llama.cpp's files. */
export interface PeerOptions {
  /** Folder of llama.cpp's programs. */
  readonly peer?: string | undefined
  /** GGUF files of the same model, with commas between them. */
  readonly gguf?: string | undefined
  /** Folder of LoRA adapters in GGUF. */
  readonly loras?: string | undefined
  /** How often each side is measured. */
  readonly rounds?: string | undefined
}

/** llama.cpp's programs, and the files that they are to load. */
export interface PeerFiles {
  readonly folder: string
  readonly ggufs: readonly [string, ...string[]]
  /** Undefined where no folder of LoRAs was named. */
  readonly loras: readonly string[] | undefined
  /** How often each side is measured. */
  readonly rounds: number
}

/** The files that the options name; undefined without any. Throws what is missing. */
export function peerFiles({ gguf, loras, peer, rounds }: PeerOptions): PeerFiles | undefined {
  if ([peer, gguf, loras, rounds].every((option) => option === undefined)) return undefined
  if (peer === undefined || gguf === undefined)
    throw new CliFailure('--loras and --rounds need --peer and --gguf, which belong together', {
      remedy: 'give both or neither',
    })
  const [first = '', ...others] = gguf.split(',')
  for (const file of [first, ...others])
    if (!existsSync(file))
      throw new CliFailure(`--gguf names no file: ${file || '(nothing)'}`, {
        remedy: 'give paths of GGUF files with commas between them',
      })
  return {
    folder: peer,
    ggufs: [first, ...others],
    loras: loras === undefined ? undefined : filesIn(loras),
    rounds: roundsNamed(rounds, 3),
  }
}

function filesIn(folder: string): string[] {
  if (!existsSync(folder)) throw tooFewLoras(`there is no folder ${folder}`)
  return readdirSync(folder)
    .filter((name) => name.endsWith('.gguf'))
    .sort()
    .map((name) => join(folder, name))
}

/** The first `count` LoRAs. Throws where there are fewer. */
export function firstLoras(loras: readonly string[], count: number): readonly string[] {
  if (loras.length < count)
    throw tooFewLoras(`--loras has ${loras.length} files in GGUF, and ${count} are needed`)
  return loras.slice(0, count)
}

function tooFewLoras(message: string): CliFailure {
  return new CliFailure(message, {
    remedy: 'write eight with npm run bench -- loras --gguf FILE --out FOLDER',
  })
}
