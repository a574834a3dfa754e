import { spawn } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { LoadTarget } from './load.ts'

export interface PeerOptions {
  /** Folder that holds `llama-server`. */
  readonly peer: string
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

export function loraFiles(folder: string): string[] {
  return readdirSync(folder)
    .filter((name) => name.endsWith('.gguf'))
    .sort()
    .map((name) => join(folder, name))
}

/** llama.cpp's server on two threads, as many slots as clients; ready when this resolves. */
export async function startPeer({
  contextLength = 1024,
  gguf,
  loras,
  peer,
  port,
  slots,
}: PeerOptions): Promise<Peer> {
  const loraFlags =
    loras.length > 0 ? [...loras.flatMap((file) => ['--lora', file]), '--lora-init-without-apply'] : []
  const flags = [
    '-m',
    gguf,
    '-t',
    '2',
    '-np',
    String(slots),
    '-c',
    String(slots * contextLength),
    '--port',
    String(port),
  ]
  const child = spawn(join(peer, 'llama-server'), [...flags, '--no-webui', ...loraFlags], { stdio: 'ignore' })
  const url = `http://127.0.0.1:${port}`
  const deadline = Date.now() + 60_000
  while (
    !(await fetch(`${url}/health`).then(
      (answer) => answer.ok,
      () => false,
    ))
  ) {
    if (child.exitCode !== null || Date.now() > deadline) throw new Error('llama-server did not become ready')
    await sleep(100)
  }
  return {
    url: `${url}/completion`,
    target: {
      url: `${url}/completion`,
      headers: {},
      body: (i) => ({
        ...storyPrompt(i),
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
    async [Symbol.asyncDispose]() {
      child.kill('SIGTERM')
      if (child.exitCode === null && child.signalCode === null)
        await new Promise((resolve) => child.once('exit', resolve))
    },
  }
}

/** New tokens of each request under load. */
export const storyTokens = 48

/** The prompt of request `i`, about 70 tokens, none the same, so that no prefix can be reused. */
export function storyPrompt(i: number): { prompt: string } {
  return { prompt: `${i} ${'Write a short story about a river and a boat. '.repeat(6)}` }
}
