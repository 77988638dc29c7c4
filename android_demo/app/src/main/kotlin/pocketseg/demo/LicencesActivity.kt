package pocketseg.demo

import android.app.Activity
import android.os.Bundle
import android.widget.TextView

/** Under which terms each model, the app and its libraries may be used; a model's are those of its spec. */
class LicencesActivity : Activity() {
    override fun onCreate(saved: Bundle?) {
        super.onCreate(saved)
        setContentView(R.layout.licences)
        drawBehindBars(findViewById(R.id.root))
        Thread({
            val models = ModelStore(this).list().mapNotNull { it.spec }
            val text = buildString {
                append(getString(R.string.licence_app)).append("\n\n")
                append(getString(R.string.licence_models)).append("\n")
                for (spec in models) append("• ${spec.name}: ${spec.licence ?: getString(R.string.licence_unknown)}\n")
                append("\n").append(getString(R.string.licence_libraries)).append("\n")
                append(getString(R.string.licence_library_text)).append("\n\n")
                append(getString(R.string.licence_backgrounds))
            }
            runOnUiThread { findViewById<TextView>(R.id.text).text = text }
        }, "licences").start()
    }
}
