import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { CliFailure } from '../cli/command/failure.ts'
import type { LoadTarget } from './load.ts'
import { freshStory, storyTokens } from './story.ts'

/** Threads of llama.cpp's programs, and of the backends that they are compared with. */
export const peerThreads = 2

interface PeerServer {
  /** Folder that holds `llama-server`. */
  readonly folder: string
  readonly gguf: string
  readonly port: number
  /** LoRA files; none for the plain server. */
  readonly loras: readonly string[]
  readonly slots: number
  /** Tokens of each slot. */
  readonly contextLength?: number
}

export interface Peer extends AsyncDisposable {
  readonly target: LoadTarget
  /** The server's endpoint for completions. */
  readonly url: string
}

/** llama.cpp's server with as many slots as clients; ready when this resolves. Throws `CliFailure` where it does not start. */
export async function startPeer({
  contextLength = 1024,
  gguf,
  loras,
  folder,
  port,
  slots,
}: PeerServer): Promise<Peer> {
  const loraFlags =
    loras.length > 0 ? [...loras.flatMap((file) => ['--lora', file]), '--lora-init-without-apply'] : []
  const flags = [
    '-m',
    gguf,
    '-t',
    String(peerThreads),
    '-np',
    String(slots),
    '-c',
    String(slots * contextLength),
    '--port',
    String(port),
  ]
  const child = spawn(join(folder, 'llama-server'), [...flags, '--no-webui', ...loraFlags], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  const stop = async () => {
    child.kill('SIGTERM')
    if (child.pid !== undefined && child.exitCode === null && child.signalCode === null)
      await once(child, 'exit')
  }
  try {
    await whenReady(child, `http://127.0.0.1:${port}/health`)
  } catch (error) {
    await stop()
    throw error
  }
  const url = `http://127.0.0.1:${port}/completion`
  return {
    url,
    target: {
      url,
      headers: {},
      body: (i) => ({
        ...freshStory(),
        n_predict: storyTokens,
        ignore_eos: true,
        cache_prompt: false,
        temperature: 0,
        stream: true,
        ...(loras.length > 0
          ? { lora: loras.map((_, id) => ({ id, scale: id === i % loras.length ? 1 : 0 })) }
          : {}),
      }),
      isToken: (event) => typeof event === 'object' && event !== null && 'content' in event,
    },
    [Symbol.asyncDispose]: stop,
  }
}

/** Resolves when the server answers. Throws `CliFailure` with its last words where it ends before, or takes a minute. */
async function whenReady(child: ChildProcessByStdio<null, null, Readable>, url: string): Promise<void> {
  let last = ''
  createInterface(child.stderr).on('line', (line) => {
    last = line.trim() || last
  })
  const path = child.spawnfile
  let missing = false
  child.once('error', () => {
    missing = true
  })
  const deadline = Date.now() + 60_000
  const answers = () =>
    fetch(url).then(
      ({ ok }) => ok,
      () => false,
    )
  while (!(await answers())) {
    if (missing)
      throw new CliFailure(`--peer has no llama-server that starts: ${path}`, {
        remedy: "name the folder of llama.cpp's programs (its build's bin/)",
      })
    const ended = child.exitCode !== null || child.signalCode !== null
    if (ended || Date.now() > deadline)
      throw new CliFailure(`${path} ${ended ? 'ended' : 'was not ready within a minute'}: ${last}`, {
        remedy: `run it by hand: ${child.spawnargs.join(' ')}`,
      })
    await sleep(100)
  }
}
