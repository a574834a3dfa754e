/** A client that is tried: where it comes from, at which versions, and the script that uses it. */
export interface Client {
  readonly name: string
  /** Packages and their exact versions. The first is the client itself. */
  readonly packages: Readonly<Record<string, string>>
  readonly from: 'npm' | 'pypi'
  /** A file under js/ or python/. */
  readonly script: string
}

export const clients: readonly Client[] = [
  {
    name: 'openai (JavaScript)',
    from: 'npm',
    packages: { openai: '7.59.0', zod: '4.6.7' },
    script: 'openai.mjs',
  },
  { name: 'openai (Python)', from: 'pypi', packages: { openai: '3.57.0' }, script: 'openai_python.py' },
  {
    name: 'Anthropic SDK',
    from: 'npm',
    packages: { '@anthropic-ai/sdk': '1.14.0' },
    script: 'anthropic.mjs',
  },
  {
    name: 'AI SDK',
    from: 'npm',
    packages: {
      ai: '7.0.173',
      '@ai-sdk/openai': '4.0.118',
      '@ai-sdk/openai-compatible': '3.0.92',
      zod: '4.6.7',
    },
    script: 'ai-sdk.mjs',
  },
  {
    name: 'LangChain',
    from: 'pypi',
    packages: { 'langchain-openai': '1.7.4' },
    script: 'langchain_openai_python.py',
  },
  { name: 'instructor', from: 'pypi', packages: { instructor: '1.17.0' }, script: 'instructor_python.py' },
  { name: 'llm', from: 'pypi', packages: { llm: '0.36' }, script: 'llm_python.py' },
  {
    name: 'LiteLLM proxy',
    from: 'pypi',
    packages: { 'litellm[proxy]': '1.108.7' },
    script: 'litellm_python.py',
  },
  {
    name: 'lm-evaluation-harness',
    from: 'pypi',
    packages: { 'lm-eval[api]': '0.4.13' },
    script: 'lm_eval_python.py',
  },
  { name: 'promptfoo', from: 'npm', packages: { promptfoo: '0.123.1' }, script: 'promptfoo.mjs' },
]
