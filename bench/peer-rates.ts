import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { z } from 'zod'
import { CliFailure } from '../cli/command/failure.ts'
import type { EngineRates, RateWork } from './engine-rates.ts'
import { peerThreads } from './peer.ts'
import { median } from './statistics.ts'

const program = 'llama-batched-bench'
const longestRunMs = 300_000

/** A line of `llama-batched-bench --output-format jsonl`: the rates of one batch size. */
const BatchLine = z.object({
  /** Tokens of the prompt, new tokens of each sequence, sequences. */
  pp: z.number(),
  tg: z.number(),
  pl: z.number(),
  /** Tokens per second of the prompt, and of decoding over all sequences. */
  speed_pp: z.number().positive(),
  speed_tg: z.number().positive(),
})

interface PeerModel {
  /** Folder of `llama-batched-bench`. */
  readonly folder: string
  readonly gguf: string
}

/**
 * Rates of llama.cpp on this machine, on as many threads as `peerThreads`. The sequences of a batch begin with one prompt, which
 * is read once and copied to each. Throws `CliFailure` where the program is missing, fails, or prints anything else.
 */
export async function peerRates(
  { folder, gguf }: PeerModel,
  { batches, context, newTokens }: RateWork,
): Promise<EngineRates> {
  const rows = Math.max(...batches) * (context + newTokens)
  const printed = await runProgram(folder, [
    ...['-m', gguf, '-t', String(peerThreads), '-c', String(rows)],
    ...['-npp', String(context), '-ntg', String(newTokens), '-npl', batches.join(',')],
    ...['-pps', '--output-format', 'jsonl'],
  ])
  const lines = printed.split('\n').flatMap((line) => {
    const parsed = line.startsWith('{') ? BatchLine.safeParse(jsonOf(line)) : undefined
    return parsed?.success ? [parsed.data] : []
  })
  const ofBatches = batches.map((batch) =>
    lines.find(({ pl, pp, tg }) => pl === batch && pp === context && tg === newTokens),
  )
  const measured = ofBatches.filter((line) => line !== undefined)
  if (measured.length < batches.length)
    throw new CliFailure(
      `${program} printed no rates for batches of ${batches.join(', ')}: ${cut(printed)}`,
      {
        remedy: 'use a release whose --output-format jsonl has pp, tg, pl, speed_pp and speed_tg (0.7.0 has)',
      },
    )
  return {
    prefill: median(measured.map(({ speed_pp }) => speed_pp)),
    decode: measured.map(({ speed_tg }) => speed_tg),
  }
}

async function runProgram(folder: string, args: readonly string[]): Promise<string> {
  const path = join(folder, program)
  try {
    const { stdout } = await promisify(execFile)(path, args, {
      maxBuffer: 64 * 1024 ** 2,
      timeout: longestRunMs,
    })
    return stdout
  } catch (cause) {
    const failed = ProgramFailure.safeParse(cause)
    if (failed.data?.code === 'ENOENT')
      // Without its cause, which names no remedy.
      throw new CliFailure(`--peer has no ${program}: ${path}`, {
        remedy: "name the folder of llama.cpp's programs (its build's bin/)",
      })
    const last = failed.data?.stderr?.trim().split('\n').at(-1)
    throw new CliFailure(`${path} failed${last ? `: ${cut(last)}` : ''}`, {
      remedy: `run it by hand: ${program} ${args.join(' ')}`,
      cause,
    })
  }
}

/** The error of `execFile`. */
const ProgramFailure = z.object({
  code: z.union([z.string(), z.number()]).nullish(),
  stderr: z.string().optional(),
})

function jsonOf(line: string): unknown {
  try {
    return JSON.parse(line)
  } catch {
    return undefined
  }
}

const cut = (text: string): string => text.trim().slice(0, 200) || '(nothing)'
