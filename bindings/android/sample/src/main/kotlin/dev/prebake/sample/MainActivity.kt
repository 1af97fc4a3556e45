package dev.prebake.sample

import android.app.Activity
import android.content.ComponentName
import android.content.Context
import android.content.Intent
import android.content.ServiceConnection
import android.graphics.Typeface
import android.os.Bundle
import android.os.IBinder
import android.view.KeyEvent
import android.view.inputmethod.EditorInfo
import android.widget.EditText
import android.widget.LinearLayout
import android.widget.ScrollView
import android.widget.TextView
import dev.prebake.android.VmService
import dev.prebake.vm.VmSession
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.MainScope
import kotlinx.coroutines.cancel
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.flow.collectLatest
import kotlinx.coroutines.launch
import kotlinx.coroutines.withContext

/** A shell of Alpine. What is typed in the field goes to it line by line; what it writes is shown without colours. */
class MainActivity : Activity(), ServiceConnection {
    private val scope: CoroutineScope = MainScope()
    private lateinit var shown: TextView
    private lateinit var scroll: ScrollView
    private var session: VmSession? = null

    override fun onCreate(state: Bundle?) {
        super.onCreate(state)
        shown = TextView(this).apply {
            typeface = Typeface.MONOSPACE
            setTextIsSelectable(true)
        }
        scroll = ScrollView(this).apply { addView(shown) }
        val typed = EditText(this).apply {
            typeface = Typeface.MONOSPACE
            imeOptions = EditorInfo.IME_ACTION_SEND
            setSingleLine()
            setOnEditorActionListener { _, _, event ->
                if (event == null || event.action == KeyEvent.ACTION_DOWN) {
                    type("$text\n")
                    text.clear()
                }
                true
            }
        }
        setContentView(
            LinearLayout(this).apply {
                orientation = LinearLayout.VERTICAL
                addView(scroll, LinearLayout.LayoutParams(LinearLayout.LayoutParams.MATCH_PARENT, 0, 1f))
                addView(typed)
            },
        )
        VmService.start(this, IMAGE)
        bindService(Intent(this, VmService::class.java), this, Context.BIND_AUTO_CREATE)
    }

    override fun onServiceConnected(name: ComponentName?, service: IBinder?) {
        val sessions = (service as VmService.VmBinder).session
        scope.launch {
            sessions.collectLatest { session ->
                this@MainActivity.session = session
                if (session != null) show(session)
            }
        }
    }

    override fun onServiceDisconnected(name: ComponentName?) {
        session = null
    }

    private suspend fun show(session: VmSession): Nothing = coroutineScope {
        val screen = Screen()
        launch {
            session.state.collect { state ->
                when (state) {
                    is VmSession.State.Preparing -> title = state.progress?.text ?: "starting"
                    VmSession.State.Running -> title = IMAGE
                    is VmSession.State.Ended -> title = "ended"
                    is VmSession.State.Failed -> shown.append("\n${state.error.message}\n")
                }
            }
        }
        session.output.collect { bytes ->
            shown.text = withContext(Dispatchers.Default) { screen.take(bytes) }
            scroll.post { scroll.fullScroll(ScrollView.FOCUS_DOWN) }
        }
    }

    private fun type(text: String) {
        val session = session ?: return
        scope.launch { session.write(text.toByteArray()) }
    }

    override fun onDestroy() {
        unbindService(this)
        scope.cancel()
        super.onDestroy()
    }

    private companion object {
        const val IMAGE = "docker.io/library/alpine:latest"
    }
}
