// Before the log-in: the way in, and why somebody is out.
import { Problem } from '../api.js';
import { forgetEnd, logIn, register, useSession } from '../session.js';
import { Field, FormTrouble, Mark, Notice, Page, Submit, clock, exactly, useForm } from '../ui.js';
import { html } from '../view.js';

const REASONS = {
  revoked: ({ left }) => [
    'You were logged out from elsewhere',
    `Somebody ended this session (or changed the password, or disabled the account). The access token would have been good for another ${clock(left)} minutes; since then every service refuses it, and the refresh token is dead as well.`,
  ],
  expired: () => ['Your session is over', 'The access token expired and the cookie brought no new one.'],
  'other-tab': () => ['You logged out in another tab', 'All tabs of this browser share one session.'],
};

function Ended({ ended }) {
  const [title, text] = REASONS[ended.why](ended);
  return html`
    <div role="alert" id="ended">
      <${Notice} kind="warn" title=${title}>
        <p>${text}</p>
        <p class="fine">Noticed on ${exactly(ended.at)}${ended.code && html` by <code>401 ${ended.code}</code>`}</p>
      <//>
    </div>
  `;
}

export function Welcome({ route }) {
  const { ended, offline } = useSession();
  const joining = route === 'register';
  return html`
    <div class="welcome">
      <section class="about" aria-labelledby="about">
        <p class="brand"><${Mark} />Signet</p>
        <h2 id="about">Tokens you can watch at work</h2>
        <ul>
          <li><strong>The access token</strong> lives for minutes, in this page’s memory alone. Every service checks it without asking anybody.</li>
          <li><strong>The refresh token</strong> lives in a cookie that no script can read, and changes with every use.</li>
          <li><strong>A log-out</strong> reaches every service within milliseconds, and every other window within a second.</li>
        </ul>
      </section>
      <main id="main" tabindex="-1">
        <p class="brand small"><${Mark} />Signet</p>
        ${ended && html`<${Ended} ended=${ended} />`}
        ${offline && html`<${Notice} kind="warn" title="The server cannot be reached"><p>Once it is back, logging in works again.</p><//>`}
        ${joining ? html`<${Register} key="register" />` : html`<${LogIn} key="login" />`}
      </main>
    </div>
  `;
}

function LogIn() {
  const form = useForm(async ({ who, password }) => {
    const missing = [!who.trim() && 'who', !password && 'password'].filter(Boolean);
    if (missing.length) {
      const errors = missing.map((field) => ({ field, code: 'required', message: 'Please fill this in.' }));
      throw new Problem({ code: 'validation_failed', title: 'Please check the form', errors });
    }
    await logIn(who.includes('@') ? { email: who, password } : { username: who, password });
  });
  return html`
    <${Page} title="Log in">
      <form ...${form.props} class="stack">
        <${FormTrouble} form=${form} fields=${['who', 'password']} />
        <${Field} form=${form} name="who" label="E-mail address or user name" autocomplete="username" autocapitalize="none" />
        <${Field} form=${form} name="password" label="Password" type="password" autocomplete="current-password" />
        <${Submit} form=${form}>Log in<//>
      </form>
      <p class="aside">No account yet? <a href="#/register" onClick=${forgetEnd}>Register</a></p>
    <//>
  `;
}

function Register() {
  const form = useForm(async ({ email, username, name, password, confirmed }) => {
    if (password !== confirmed) throw Problem.ofField('confirmed', 'The two passwords differ.');
    await register({ email, password, username: username || undefined, name: name || undefined });
  });
  const fields = ['email', 'username', 'name', 'password', 'confirmed'];
  return html`
    <${Page} title="Register">
      <form ...${form.props} class="stack">
        <${FormTrouble} form=${form} fields=${fields} />
        <${Field} form=${form} name="email" label="E-mail address" type="email" autocomplete="email" />
        <${Field} form=${form} name="username" label="User name" optional autocomplete="username" autocapitalize="none" hint="3 to 32 of A-Z, a-z, 0-9, dot, dash and underscore" />
        <${Field} form=${form} name="name" label="Name" optional autocomplete="name" />
        <${Field} form=${form} name="password" label="Password" type="password" autocomplete="new-password" hint="8 characters or more; a few unrelated words are best" />
        <${Field} form=${form} name="confirmed" label="Password once more" type="password" autocomplete="new-password" />
        <${Submit} form=${form}>Register<//>
      </form>
      <p class="aside">Registered already? <a href="#/login">Log in</a></p>
    <//>
  `;
}
