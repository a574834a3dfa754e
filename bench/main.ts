import { parseArgs } from 'node:util'

const usage = `usage: npm run bench -- NAME [options]

  engine   one node: decode and prefill with and without adapters, batch 16 against 1, memory
  edge     the worker's own time per request, before a node that answers at once
  stack    everything: eight adapters through edge and node, first use of an adapter
             --peer FOLDER   also drive llama.cpp's llama-server from FOLDER, in turn, and print the ratios
             --gguf FILE     the model file the peer loads
             --loras FOLDER  lora0.gguf … lora7.gguf for the peer`

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { peer: { type: 'string' }, gguf: { type: 'string' }, loras: { type: 'string' } },
})

async function run(name: string | undefined): Promise<boolean> {
  switch (name) {
    case 'engine':
      return (await import('./engine.ts')).benchEngine()
    case 'edge':
      return (await import('./edge.ts')).benchEdge()
    case 'stack':
      return (await import('./stack.ts')).benchStack(values)
    default:
      console.error(usage)
      return false
  }
}

process.exitCode = (await run(positionals[0])) ? 0 : 1
